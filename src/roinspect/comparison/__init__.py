"""Our methods and their rivals on equal terms."""
