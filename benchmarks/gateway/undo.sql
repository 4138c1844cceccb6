-- Takes out what W6 wrote, which the gateway itself never would: events are append-only. Nothing else refers to events here.
SET session_replication_role = replica;
TRUNCATE public.domain_events, life_lock.task_analytics CASCADE;
DELETE FROM life_lock.tasks WHERE title = 'Call the supplier about the delivery';
VACUUM (ANALYZE) life_lock.tasks;
CHECKPOINT;
