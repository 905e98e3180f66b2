//! What is kept on disk: the cursor, what the core remembers, and every notice that no service has taken yet.
