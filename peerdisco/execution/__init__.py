"""Running tasks on this node: slots, worker processes, inputs and outputs."""
