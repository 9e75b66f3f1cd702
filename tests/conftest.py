"""How hypothesis searches. The suite tries the same examples each time, so that it fails for a change and not
by chance; ``pytest --hypothesis-profile=search`` looks for new ones. Nothing is timed: machines are busy."""

from hypothesis import settings

settings.register_profile("suite", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile("suite")
