"""The report: one page that shows what a dataset has become, from posts to pictures."""
