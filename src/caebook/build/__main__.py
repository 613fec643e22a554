import sys

from caebook.build.graph import main

sys.exit(main())
