"""How right an answer is: known answers, judged ones, mathematics, several views."""
