"""Plain values: frozen dataclasses, enums and pure functions, standard library only. Import from the submodules."""
