-- Listing a folder, and finding an entry by path. Not unique: names may change places in a circle within one delta.
CREATE INDEX entries_parent_name ON entries (parent, name);
-- Serving a delta.
CREATE INDEX entries_seq ON entries (seq);
