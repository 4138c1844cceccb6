"""The reactions of domains to the events of other domains, the only place in this layer where domains meet.

A reaction runs in the unit of work that recorded the event, before the commit. If it fails, the unit of work is rolled
back.
"""

from repositories.aggregates.unit_of_work import Reaction
from resolvers.gamification import reactions as gamification
from resolvers.life_lock import reactions as life_lock

REACTIONS = (
    Reaction(to=life_lock.TASK_EVENTS, run=life_lock.count_days),
    Reaction(to=gamification.TASK_EVENTS, run=gamification.reward_tasks),
    Reaction(to=gamification.BOOKED_EVENTS, run=gamification.book),
)
