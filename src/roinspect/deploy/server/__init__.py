"""Models behind HTTP: a queue, a limit on everything, and answers that are verdicts or one line of error."""
