"""How debates look in a terminal of any width: live, line by line, as a transcript, and how they end."""
