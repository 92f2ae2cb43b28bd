"""A teacher worth learning from: a language model adapted to one shop by LoRA."""
