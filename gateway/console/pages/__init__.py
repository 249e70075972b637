"""The console's pages, one module a page: each turns a visit into a response."""
