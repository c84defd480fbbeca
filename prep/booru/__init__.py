"""The site's side: its API through pybooru, our manners, and posts as rows."""
