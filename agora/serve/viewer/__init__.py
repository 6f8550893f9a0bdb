"""The page that a server shows: runs as they are and as they go on, debates begun and joined, evaluations."""
