"""An evaluation to be read: tables, charts, a page, a folder."""
