"""From photographs to a running inspection in the browser; one page per step."""
