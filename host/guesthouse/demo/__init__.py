"""The demo: its guests on a board, what became of them, and the same guests under plain asyncio."""
