"""A cluster of several Ray nodes on this machine, in a process of its own: `add CORES` and `kill` on its standard input. Whoever started it ends it, and its children."""

import sys

from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
print(cluster.address, flush=True)
nodes = []
for line in sys.stdin:
    word, *rest = line.split()
    if word == "add":
        nodes.append(cluster.add_node(num_cpus=int(rest[0]), object_store_memory=10**8))
    elif word == "kill":
        cluster.remove_node(nodes.pop(0), allow_graceful=False)
    print("done", flush=True)
