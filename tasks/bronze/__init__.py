"""Bronze: landed batches into Postgres (14 or later), each in one transaction, nothing lost and nothing doubled.

Only names of new relations and changes of columns are committed ahead of a batch, with their record, in short
transactions of their own: others wait for their locks.

Rows. `bronze.<source>__<table>` has `_id` (key text, primary key), one column per document path, and `_rescued`,
`_hash`, `_batch_id`, `_extracted_at`, `_loaded_at`, `_deleted_at`. A soft-deleted row keeps its values; `_loaded_at`
grows with every change of a row, deletion included, so models above can read what is new by it. Child tables have
`_root_id`, `_parent_id` and `_position`, and all child rows of a changed root are replaced. `__history` has every
version with `_valid_from` and `_valid_to`.

Columns. Types are decided once, from the counts of a field's kinds in the first batch that has it; later ones widen
(whole numbers to doubles to numeric, days to times) where every value stays exact, the relation is small enough to be
rewritten, and views above can be made again. How many whole numbers no double holds exactly is counted when a part is
landed: what would be a double is then a numeric. Where a column cannot widen, a column of the wider type is added
beside the old one, named after it and the kind (`price__decimal`). Each value is in the first column of its path that
holds it exactly, so a row fills one at most. Names are given once and kept in `ops.columns`.

`_rescued` holds, by path and as extended JSON, the original of every value that its column does not hold exactly:

| form | meaning |
|---|---|
| any value, its column null | did not fit, had no column, or no page could hold the row |
| any value, its column not null | the column has a readable form: text without NUL, `-0` as 0, an ObjectId as text |
| `[...]` at `path|duplicates` | later values of a key that the document has more than once |
| `{"$text": {"base64": ...}}` | a text with NUL or invalid UTF-8, its bytes |
| `{"$json": {"base64": ...}}` | JSON that jsonb refuses or shortens (NUL, a key twice), its text |

Plans that won. A new or empty table takes rows by COPY (binary where the native encoder is, CSV elsewhere) straight
into place, frozen, its key built afterwards; whatever that cannot take is rolled back to a savepoint and staged. A
complete read of a filled table first sends keys and hashes alone: without changes nothing else is sent or parsed.
Everything else is staged in a temporary table and merged by one update of rows whose hash differs and one insert of
new ones; `on conflict` was left because it locks, and so writes, rows that do not change.
"""
