"""The page that shows runs: the records it reads, and the page itself, served or as a file."""
