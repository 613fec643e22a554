import sys

from caebook.cli import main

sys.exit(main())
