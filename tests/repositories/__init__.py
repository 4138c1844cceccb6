"""The data floor and the migrations, by topic; nothing above them is needed here."""
