"""Where artefacts lie: parts under addresses that tell what made them, here or far away."""
