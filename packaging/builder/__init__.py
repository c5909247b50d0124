"""Makes D4D's packages: a folder with D4D and its libraries, and deb, rpm and plugin of it."""
