"""`python -m roadstead_keys_agent`."""

from roadstead_keys_agent.main import main

if __name__ == "__main__":
    main()
