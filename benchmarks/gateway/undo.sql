-- Deletes the rows that W6 wrote. The gateway itself cannot delete events. No other row of this database refers to them.
SET session_replication_role = replica;
TRUNCATE public.domain_events, life_lock.task_analytics CASCADE;
DELETE FROM life_lock.tasks WHERE title = 'Call the supplier about the delivery';
VACUUM (ANALYZE) life_lock.tasks;
CHECKPOINT;
