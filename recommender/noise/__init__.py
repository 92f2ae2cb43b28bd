"""How far answers move when the same is asked again: under this, no difference means anything."""
