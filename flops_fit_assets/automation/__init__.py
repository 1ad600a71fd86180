"""What starts by itself: conditions, schedules, retries, and the sensor that watches the study."""
