"""Few examples of each property, unless --hypothesis-profile=fuzz asks for many."""

import property_profiles

property_profiles.register()
