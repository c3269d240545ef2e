"""Ray: joining a cluster, waiting for room on its nodes, and tables computed in pieces over it."""
