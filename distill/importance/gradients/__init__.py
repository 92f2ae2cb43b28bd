"""What one way back through a model tells of its layers: Fisher, gates, gradients, curvature."""
