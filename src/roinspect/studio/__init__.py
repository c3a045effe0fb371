"""The studio: inspection by mouse."""
