"""Seeing what goes wrong with gradients through time: pure functions that return arrays."""

from recurrax.gradients.diagnostics.flow import GradientFlow as GradientFlow
from recurrax.gradients.diagnostics.flow import gate_norms as gate_norms
from recurrax.gradients.diagnostics.flow import gradient_flow as gradient_flow
from recurrax.gradients.diagnostics.gates import GateSaturation as GateSaturation
from recurrax.gradients.diagnostics.gates import gate_saturation as gate_saturation
from recurrax.gradients.diagnostics.jacobians import JacobianProducts as JacobianProducts
from recurrax.gradients.diagnostics.jacobians import jacobian_products as jacobian_products
from recurrax.gradients.diagnostics.jacobians import state_jacobians as state_jacobians
from recurrax.gradients.diagnostics.lyapunov import LyapunovSpectrum as LyapunovSpectrum
from recurrax.gradients.diagnostics.lyapunov import lyapunov_spectrum as lyapunov_spectrum
from recurrax.gradients.diagnostics.warning import gradient_warning as gradient_warning
from recurrax.gradients.diagnostics.warning import memory_length as memory_length
