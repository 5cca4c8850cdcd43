"""Applications as the arbiter sees them: where settings come from and how the callable is loaded."""
