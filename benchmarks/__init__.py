"""One script per claim. A package, since another distribution brings a package of this name."""
