"""What the HTML report and the dashboard share: panels (one SQL file each), formats and charts."""
