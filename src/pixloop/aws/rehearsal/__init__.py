"""AWS on a laptop: stand-ins for what the loop uses of it, and the story that plays it all."""
