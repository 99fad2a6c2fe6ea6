"""What the clan benchmark is made of: tasks, a population trained as one batch of tensors, and the arms."""
