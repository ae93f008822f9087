"""Training a model by its recipe: mmengine's runner on the configs of the zoo, with checkpoints that hold no code."""
