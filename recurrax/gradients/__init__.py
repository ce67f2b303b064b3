"""What training does to gradients of recurrent networks."""

from recurrax.gradients.clipping import ClippingReport as ClippingReport
from recurrax.gradients.clipping import clipped as clipped
from recurrax.gradients.clipping import clipping_report as clipping_report
