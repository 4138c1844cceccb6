"""What one domain does because of another's events: the only place where domains meet on this floor.

Reactions run in the unit of work that recorded the events, before it is committed; if one fails, nothing of it is left.
"""

from repositories.kit.unit_of_work import Reaction
from resolvers.life_lock.reactions import TASK_EVENTS, count_days

REACTIONS = (Reaction(to=TASK_EVENTS, run=count_days),)
