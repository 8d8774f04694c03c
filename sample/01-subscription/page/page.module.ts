import { Module } from '@nestjs/common';
import { EventsController } from './events.controller.js';
import { PageController } from './page.controller.js';
import { PageFiles } from './page-files.js';

/** The page at `/`. Nothing else of the sample knows of it. */
@Module({
  providers: [PageFiles],
  controllers: [PageController, EventsController],
})
export class PageModule {}
