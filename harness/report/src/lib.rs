//! Reports folded from events: JUnit, GitHub, terminal
