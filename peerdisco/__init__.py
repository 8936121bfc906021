"""MapReduce and a replicated file system on a cluster of equal peers."""
