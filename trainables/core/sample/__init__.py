"""A small real part of MNIST and BSDS500, so that every study runs without a network. See ORIGIN.md."""
