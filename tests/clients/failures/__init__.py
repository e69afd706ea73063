"""Ways in which servers of models have failed, tried on a running one."""
