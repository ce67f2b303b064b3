"""Gradients forward in time, for any cell: one step, and at once the gradient of its loss."""

from recurrax.gradients.online.eprop import eprop as eprop
from recurrax.gradients.online.kf_rtrl import kf_rtrl as kf_rtrl
from recurrax.gradients.online.learner import OnlineLearner as OnlineLearner
from recurrax.gradients.online.learner import OnlineState as OnlineState
from recurrax.gradients.online.rtrl import rtrl as rtrl
from recurrax.gradients.online.rtrl import snap as snap
from recurrax.gradients.online.sequence import online_value_and_grad as online_value_and_grad
from recurrax.gradients.online.uoro import uoro as uoro
