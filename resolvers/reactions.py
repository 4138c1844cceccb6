"""What one domain does because of another's events: the only place where domains meet on this floor.

Reactions run in the unit of work that recorded the events, before it is committed; if one fails, nothing of it is left.
"""

from repositories.aggregates.unit_of_work import Reaction
from resolvers.gamification import reactions as gamification
from resolvers.life_lock import reactions as life_lock

REACTIONS = (
    Reaction(to=life_lock.TASK_EVENTS, run=life_lock.count_days),
    Reaction(to=gamification.TASK_EVENTS, run=gamification.reward_tasks),
    Reaction(to=gamification.BOOKED_EVENTS, run=gamification.book),
)
