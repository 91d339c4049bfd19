"""What the admin process answers: made from the scoreboard alone."""
