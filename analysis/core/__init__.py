"""What pages share: reading a run, choosing, drawing, telling. One study's mathematics, where it is large, lies here too."""
