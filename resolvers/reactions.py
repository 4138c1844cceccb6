"""The reactions of domains to events, both of other domains and of their own.

A reaction runs in the unit of work that recorded the event, before the commit. If it fails, the unit of work is rolled
back. Reactions run in the order of ``REACTIONS``, each once with all of its events. Events that reactions record are
handled in another round, in the same order.

Only this module and resolvers/jobs.py import several domains of this layer.
"""

from repositories.aggregates.unit_of_work import Reaction
from repositories.identity import ProfileUpdated
from resolvers.gamification import reactions as gamification
from resolvers.life_lock import reactions as life_lock

REACTIONS = (
    Reaction(to=life_lock.TASK_EVENTS, run=life_lock.count_days),
    Reaction(to=(ProfileUpdated,), run=life_lock.recount_days),
    Reaction(to=gamification.TASK_EVENTS, run=gamification.reward_tasks),
    Reaction(to=gamification.BOOKED_EVENTS, run=gamification.book),
)
