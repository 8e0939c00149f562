"""The rules as functions with arguments of their own: `js.adam` and the others, in the order of every table."""

from jaxsparse.rules.adadelta import adadelta
from jaxsparse.rules.adagrad import adagrad
from jaxsparse.rules.adam import adam
from jaxsparse.rules.adamax import adamax
from jaxsparse.rules.amsgrad import amsgrad
from jaxsparse.rules.rmsprop import rmsprop
from jaxsparse.rules.sgd import sgd

__all__ = ["sgd", "adam", "amsgrad", "adamax", "rmsprop", "adagrad", "adadelta"]  # noqa: RUF022  # the order is meant
