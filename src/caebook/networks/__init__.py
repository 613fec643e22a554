"""The networks of the chapters, one module a framework."""
